"""Running the service.

`supervisor` has `children`, each a `process`, and the `broker`, in the directory of its `state`; a
role by itself has a `successor`. Each of them has `signals`, a `pulse`, `logs`, its `surroundings`,
and tells systemd (`notify`), whose `units` are written by `installing`. A change of the
configuration is a `reload`, by `handover`.
"""
