"""Networks as plain modules: denoisers over action chunks and encoders of observations."""
