"""Runs: what happens to one from POST to seal, module by module, and who repairs what.

1. `opslib.intake` accepts an alert and, in one transaction, writes the run (`opslib.intake.bulk`, many at once) and its
   job (`queue.defer_all`); a person's run comes from `run.start`, one by the clock from `opslib.schedule`, one by hand
   in JupyterLab from `opslib.jupyter.interactive`, all by `queue.create_run`. The state is `waiting`.
2. `worker` takes the job by lane; `processes` gets the run a process from `forker`, or starts a plain one.
3. `run.execute` claims the run (`running`; one of a place at a time) and names its process (`descendants.me`).
   `pulse` beats for it and hears a cancel; `scribe` writes its journal.
4. `execution` finds the runbook (`catalogue`, `declaration`, `parameters`), opens the recorder's session, and takes a
   kernel from `leases`, or a plain one from `kernels`; either is `confined`. `engine` drives papermill, `cells` runs
   each cell, `outputs` keeps what it shows, `notebook` saves.
5. `ending.end` gives the one terminal state: journal, state and, after `lost`, the next attempt in one transaction.
   `ending.close_record` writes notebook and page (`html`), brings them into the archive, and has all of it sealed.

Who repairs what: `reaper` ends runs whose process is gone or, on another host, silent (`silence`), closes what nobody
closed, and queues what has no job; workers do all of that, the server ends and closes. What never began is ended by
`queue.end_unbegun`: by `expiry`, where it waited too long, or by a person's cancel. `undecided` has an alert looked at
again whose run came too early; that and the next attempt of a lost run come from `queue.run_again`. The spool
(`opslib.record.spool`) keeps the journal while the store is away, and whoever writes next brings it in. The worker
starts forker and nursery again. The applier alone looks after the runs that apply a plan.

Glossary: the *nursery* is the process that kernels are forked from, with everything imported. A *cot* is one kernel in
it, being made or ready. A kernel is *parked* while it waits there for its run, and *leased* to whoever took it: a
*lease* is the connection whose end ends the kernel. The *forker* does for the processes of runs what the nursery does
for kernels. The *place* of a run is its platform, runbook and target.
"""
