"""Small models with their tasks, ready to be measured."""
