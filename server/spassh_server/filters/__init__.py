"""What the kernel is told to keep from a capture: programs of BPF, made and loaded."""
