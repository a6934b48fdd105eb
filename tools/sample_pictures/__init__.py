"""Pictures that the project may ship: derived from CC0 photographs or drawn in code."""
