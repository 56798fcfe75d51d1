"""Shell completion, made from the parsers that read the command lines."""
