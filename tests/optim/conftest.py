"""The samples import PyTorch's internals, which set a profile of hypothesis: only a process of their own reads them."""

collect_ignore = ["optim_samples.py"]
