"""The model of Definition 2.5: encoder, sigma, decoder."""
