"""What `python benchmarks/faults.py` is made of.

environments    a virtual environment for each library
play            one case played by one client, and the evidence of it
cases           the faults: what the server does, what the client is asked, what the evidence says
table           the evidence as Markdown
"""
