"""Models of jaxsep, made into what other programs read."""
