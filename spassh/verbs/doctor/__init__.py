"""What `spassh doctor` looks at, and what it makes of that.

Each module but the judge measures one thing, and changes nothing. The judge is pure:
facts in, findings out.
"""
