"""What users pass, converted and validated; an error names the argument, what was expected and what came."""
