"""How fast the layers are on this machine, beside the peers that are installed: `grunlock bench`.

The road: `plan` lists comparisons, `measure` goes round their contenders in turn, `processes` keeps one
worker process per peer, `worker` is what runs there with one module of `peers`, `ratios` and `results` turn
seconds into figures and JSON. Nothing here prints.

`cases`, `arrays`, `timing`, `worker` and all of `peers` but the two with our layers run in interpreters where
grunlock is not installed: they import the standard library, numpy and their peer only.

`long` asks another question: what each kind of encoder remembers, over how many steps. It shares no code
with the rest but `machine`.
"""
