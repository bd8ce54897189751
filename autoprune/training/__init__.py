"""Training a pruned model on, epoch by epoch, with the dense one as its teacher."""
