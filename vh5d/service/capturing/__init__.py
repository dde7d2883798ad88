"""Capturing, in workers.

`tasks` (Celery) take a `message`, under `limits`, and make an `attempt`, with its `setbacks`. It
captures as is `asked`, within the `quota`, tells how far it is (`percent`), and may `follow` a
renamed file or have `followers` captured; `keeper` tells the catalog what the broker missed.
"""
