"""The networks of specs/ as a PyTorch engineer writes them by hand: the reference for emitted modules.

There is one class per spec, grouped by family into files. It takes the inputs of the spec by name (images
channels-last), and returns what the emitted module returns: a tensor for one output, a dict for several,
logits on request. It declares its weights in the order of the spec, so that they can be copied one by one.
The twins are written for speed: activations work in place where hand-written code does so.
"""
