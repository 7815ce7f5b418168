"""The networks of specs/ as a PyTorch engineer writes them by hand: the measure of the emitted modules.

One class a spec, by family in the files of this folder. It takes the inputs of the spec by name (images
channels-last), returns what the emitted module returns (a tensor for one output, a dict for several; logits
on demand), and declares its weights in the order of the spec, so that they can be copied over one by one.
Nothing here is slower than it could be: activations overwrite their input where code by hand does so.
"""
