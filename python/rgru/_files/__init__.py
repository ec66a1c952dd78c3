"""Files that are written whole or not at all, and the format of models in them."""
