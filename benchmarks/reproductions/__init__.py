"""The stored records of the published experiments, and the page made of them."""
