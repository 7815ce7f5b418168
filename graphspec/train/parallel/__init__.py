"""Training in several processes, which torch's launcher starts: torchrun, or `train --devices`."""
