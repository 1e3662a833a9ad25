"""How fast aioreq is beside its peers: `python -m bench` in the folder above, or `make bench`."""
