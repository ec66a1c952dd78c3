"""Validation and conversion of arguments; errors name the argument, what was expected and what was passed."""
