"""What a model does, and where it is on its way there: behaviour, structure, stages."""
