"""``convert``: from what the user asks for to artefacts with their lineage.

``options`` are what is asked for, ``requests`` what each converter is told, ``plan`` what
would be made, ``convert`` the making: in a ``work_folder``, skipping what is ``existing``, with
``results`` as new artefacts, and ``measured`` and ``warnings`` for the user to read.
``assess`` asks what could be made of a model that is about to be pulled.
"""
