"""`dataclass` and what belongs to it, as in the standard library, for the classes that every check makes.

The standard library writes up to ten methods of a class as text and compiles them when the class is made.
That took an eighth of the time of `check`. Here methods are shared, and `__init__` is compiled when the first
object of a class is made. A type checker sees the standard library's.

What runs with torch keeps the standard library's: torch.compile knows how to trace those. `replace` takes
both. `InitVar` and what else no class of ours uses is left out. A frozen object refuses every assignment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import KW_ONLY as KW_ONLY
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import replace as replace
else:
    import operator
    from reprlib import recursive_repr

    MISSING = object()
    KW_ONLY = "KW_ONLY"
    """`_: KW_ONLY` in a class: its later fields are passed by name."""

    class DeclaredField:
        """What is said of a field; with its name, once it is in a class."""

        __slots__ = ("compare", "default", "default_factory", "init", "kw_only", "name", "repr")

        def __init__(self, default, default_factory, init, repr, compare, kw_only):
            self.default, self.default_factory = default, default_factory
            self.init, self.repr, self.compare, self.kw_only = init, repr, compare, kw_only

    def field(*, default=MISSING, default_factory=MISSING, init=True, repr=True, compare=True, kw_only=False):
        return DeclaredField(default, default_factory, init, repr, compare, kw_only)

    def fields(record):
        """The fields of a dataclass or an object of it."""
        return getattr(record, "__record_fields__", ())

    def replace(record, /, **changes):
        """An object like this one, but for `changes`."""
        if not hasattr(record, "__record_fields__"):
            import dataclasses

            return dataclasses.replace(record, **changes)
        given = {one.name: getattr(record, one.name) for one in fields(record) if one.init}
        return type(record)(**{**given, **changes})

    def dataclass(cls=None, /, *, frozen=False, eq=True, order=False, repr=True, slots=False):
        def make(cls):
            declared = _declared(cls)
            inherited = {one.name: one for base in reversed(cls.__mro__[1:]) for one in fields(base)}
            every = tuple({**inherited, **declared}.values())
            made = _methods(every, frozen, eq, order, repr)
            made["__record_fields__"] = every
            made["__match_args__"] = tuple(one.name for one in every if one.init and not one.kw_only)
            own = {name: value for name, value in made.items() if name not in vars(cls)}
            if slots:
                return _with_slots(cls, own, [name for name in declared if name not in inherited], declared)
            for name, value in own.items():
                setattr(cls, name, value)
            for name, one in declared.items():
                if one.default is not MISSING:
                    setattr(cls, name, one.default)
                elif name in vars(cls):
                    delattr(cls, name)
            return cls

        return make if cls is None else make(cls)

    def _declared(cls):
        """The fields that the body of a class declares, by name."""
        found, by_name = {}, False
        for name, annotation in vars(cls).get("__annotations__", {}).items():
            if annotation == KW_ONLY:
                by_name = True
            elif not annotation.startswith("ClassVar"):
                value = vars(cls).get(name, MISSING)
                one = value if isinstance(value, DeclaredField) else field(default=value)
                one.name, one.kw_only = name, one.kw_only or by_name
                found[name] = one
        return found

    def _with_slots(cls, own, new, declared):
        """The class anew: slots must be known when a class is made."""
        body = {name: value for name, value in vars(cls).items() if name not in declared}
        for name in ("__dict__", "__weakref__"):
            body.pop(name, None)
        state = {"__getstate__": _get_state, "__setstate__": _set_state}
        made = type(cls)(cls.__name__, cls.__bases__, state | body | own | {"__slots__": tuple(new)})
        made.__qualname__ = cls.__qualname__
        return made

    def _methods(fields, frozen, eq, order, repr):
        made = {"__init__": _first_init(fields, frozen)}
        values = _getter([one.name for one in fields if one.compare])
        if repr:
            made["__repr__"] = _repr
        if order:
            made |= {
                f"__{word}__": _compared(getattr(operator, word), values) for word in ("lt", "le", "gt", "ge")
            }
        if eq:
            made["__eq__"] = _compared(operator.eq, values)
            made["__hash__"] = (lambda self: hash(values(self))) if frozen else None
        if frozen:
            made |= {"__setattr__": _refuse, "__delattr__": _refuse}
        return made

    def _compared(test, values):
        return lambda self, other: (
            test(values(self), values(other)) if other.__class__ is self.__class__ else NotImplemented
        )

    def _getter(names):
        """The values of attributes as a tuple."""
        if len(names) > 1:
            return operator.attrgetter(*names)
        return lambda record: tuple(getattr(record, name) for name in names)

    def _first_init(fields, frozen):
        """An `__init__` that compiles the real one, puts it into the class that holds it, and calls it."""

        def __init__(self, *args, **kwargs):
            holder = next(cls for cls in type(self).__mro__ if vars(cls).get("__init__") is __init__)
            holder.__init__ = _compiled_init(fields, frozen, hasattr(holder, "__post_init__"))
            holder.__init__(self, *args, **kwargs)

        return __init__

    def _compiled_init(fields, frozen, post):
        names = {"_set": object.__setattr__, "_missing": MISSING}
        head, body = ["self"], []
        for one in sorted(fields, key=lambda one: one.kw_only):
            name, value = one.name, one.name
            if one.default_factory is not MISSING:
                names[f"_new_{name}"] = one.default_factory
                value = f"_new_{name}() if {name} is _missing else {name}" if one.init else f"_new_{name}()"
                default = "=_missing"
            elif one.default is not MISSING:
                names[f"_default_{name}"] = one.default
                value = name if one.init else f"_default_{name}"
                default = f"=_default_{name}"
            elif one.init:
                default = ""
            else:
                continue
            if one.kw_only and "*" not in head:
                head.append("*")
            if one.init:
                head.append(f"{name}{default}")
            body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
        body.append("self.__post_init__()" if post else "pass")
        exec(f"def __init__({', '.join(head)}):\n " + "\n ".join(body), names)
        return names["__init__"]

    @recursive_repr()
    def _repr(self):
        shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def _refuse(self, name, value=None):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def _get_state(self):
        return [getattr(self, one.name) for one in fields(self)]

    def _set_state(self, state):
        for one, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, one.name, value)
