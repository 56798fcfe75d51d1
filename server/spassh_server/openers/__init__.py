"""One module for each packet format that the server can open."""
