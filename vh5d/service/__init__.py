"""The running service: who watches, who captures, who keeps the stores, and how they agree.

Watching, in one process for each set of directories:

- `watcher` decides, of `candidates`, by `settle` and `growing`, at each `alarm`;
- it hears of changes by `inbox`, from the `observer` of `roots` (`sight`, `canary`, `presence`) and
  from `looks` at the disk (`rescan`); `contact` is with the broker.

Capturing, in workers:

- `tasks` (Celery) take a `message`, under `limits`, and make an `attempt`, with its `setbacks`;
- it captures as is `asked`, within the `quota`, tells how far it is (`percent`), and may `follow` a
  renamed file or have `followers` captured; `keeper` tells the catalog what the broker missed.

Agreeing, in Redis (`address`, `clock`):

- `catalog`: the `records` of each `source`, changed by `sightings`, `claims` (`queues`), `captures`
  (`places`, `statistics`, `departures`), `retries` and `recovery` (`roster`).

Upkeep of the stores: `maintainer` begins rounds of `maintenance`, noted in `upkeep`; `thinning` is
by retention; `damage` is told of.

Telling: `herald` reads `events`, fills the `outbox`, sends `notifications`, runs each `program`;
`report` and `metrics` are made of the `survey`, `live` shows it; `notices` are on configurations;
`retry` asks for captures by request; `doctor` examines the machine, and `lock_reach` its locks.

Running: `supervisor` has `children`, each a `process`, and the `broker`, in the directory of its
`state`; a role by itself has a `successor`. Each of them has `signals`, a `pulse`, `logs`, its
`surroundings`, and tells systemd (`notify`), whose `units` are written by `installing`. A change of
the configuration is a `reload`, by `handover`.
"""
