"""The demo of `acked demo`: an application over the public API, and no part of it.

The command enters by `acked.demo.run`; `acked.demo.worker` and `acked.demo.guardian` are programs.
"""
