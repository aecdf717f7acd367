"""Configurations of servers: what an installed model is served by, written for review.

``settle`` turns what a user asked for into a ``Setup`` or names everything that is wrong with
it; ``write_configuration`` turns a ``Setup`` into files. Both are pure: nothing of the host is
read and nothing is written, so that a configuration can be made on one host for another.
"""
