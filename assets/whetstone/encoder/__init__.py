"""The encoder room: recipes, losses, batch samplers and the training of one stage."""
