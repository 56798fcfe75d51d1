"""A small network on one machine: hosts are network namespaces, programs are real."""
