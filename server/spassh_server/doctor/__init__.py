"""What `spasshd doctor` looks at, and what it makes of that.

Each module but the judges measures one thing and changes nothing; what it could not
measure, it says. The judges are pure: facts in, findings out.
"""
