"""The commands, one file a verb or a group of verbs; each is imported when it is called.

What the rooms log is shown where an option asks for it, and nowhere else: without a handler of
any kind the standard library would print warnings on standard error, among the JSON.
"""

import logging

logging.getLogger("modelvault").addHandler(logging.NullHandler())
