"""Telling how it goes.

`herald` reads `events`, fills the `outbox`, sends `notifications`, runs each `program`. `report`
and `metrics` are made of the `survey`, `live` shows it; `notices` are on configurations; `retry`
asks for captures by request; `doctor` examines the machine, and `lock_reach` its locks.
"""
