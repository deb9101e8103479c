"""What a trained autoencoder is used for; each task takes any model that keeps the protocol it names."""
