"""Turns collections of songs into data sets that jaxsep trains on."""
