"""Generated specs: ResNet-50 without blocks, one line per layer, and chains of any length."""


def flat_resnet50() -> str:
    """The 175 layers of Keras' ResNet-50 (including its input), written one by one."""
    lines = ["inputs:", "  image: {shape: [224, 224, 3]}", "nodes:"]

    def conv_norm(name: str, source: str, filters: int, kernel_size: int, strides: int, relu: bool) -> str:
        lines.append(
            f"  {name}_conv: {{layer: Conv2D, from: {source}, filters: {filters}, "
            f"kernel_size: {kernel_size}, strides: {strides}, padding: same}}"
        )
        lines.append(f"  {name}_norm: {{layer: BatchNormalization, from: {name}_conv, epsilon: 1.001e-5}}")
        if not relu:
            return f"{name}_norm"
        lines.append(f"  {name}_relu: {{layer: Activation, from: {name}_norm, activation: relu}}")
        return f"{name}_relu"

    last = conv_norm("stem", "image", 64, 7, 2, relu=True)
    lines.append(f"  pool: {{layer: MaxPooling2D, from: {last}, pool_size: 3, strides: 2, padding: same}}")
    last = "pool"
    for stage, (filters, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(depth):
            name = f"stage{stage}_block{block}"
            strides = 2 if stage and not block else 1
            shortcut = last
            if not block:
                shortcut = conv_norm(f"{name}_shortcut", last, 4 * filters, 1, strides, relu=False)
            x = conv_norm(f"{name}_reduce", last, filters, 1, strides, relu=True)
            x = conv_norm(f"{name}_spatial", x, filters, 3, 1, relu=True)
            x = conv_norm(f"{name}_expand", x, 4 * filters, 1, 1, relu=False)
            lines.append(f"  {name}_sum: {{merge: add, from: [{shortcut}, {x}]}}")
            lines.append(f"  {name}_out: {{layer: Activation, activation: relu}}")
            last = f"{name}_out"
    lines.append("  flat: {layer: GlobalAveragePooling2D}")
    lines.append("  probs: {layer: Dense, units: 1000, activation: softmax}")
    lines.append("outputs:\n  probs: {loss: categorical_crossentropy}\n")
    return "\n".join(lines)


def chain(nodes: int) -> str:
    """`nodes` nodes in a chain: repeatedly two dense layers and the sum that closes a residual connection."""
    lines = ["inputs:", "  x: {shape: [16]}", "nodes:"]
    names = ["x"]
    for number in range(nodes):
        name = f"node{number}"
        match number % 3:
            case 0:
                lines.append(f"  {name}: {{layer: Dense, units: 16, activation: relu}}")
            case 1:
                lines.append(f"  {name}: {{layer: Dense, units: 16}}")
            case _:
                lines.append(f"  {name}: {{merge: add, from: [{names[-1]}, {names[-3]}]}}")
        names.append(name)
    lines.append(f"outputs:\n  {names[-1]}: {{loss: mse}}\n")
    return "\n".join(lines)
