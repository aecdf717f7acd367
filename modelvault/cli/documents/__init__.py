"""What ``--json`` prints: one frozen value for each document and event, typed.

The schemas in ``docs/reference/json/`` are made from these types, and tests hold both together.
One word means one thing in all of them: ``reference`` is ``ORG/NAME@REVISION[:VARIANT]``,
``artifact`` and ``digest`` are ``sha256:…``, sizes are bytes, times are RFC 3339 in UTC to the
second, ``…_count`` is a number of things and ``…_at`` a time.
"""
