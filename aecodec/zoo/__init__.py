"""The embedded models, a card each, and how a model is found."""
