"""Training a run: rooms whose imports point one way, from `training` at the top down to `config`.

```
training                  trains a run: what is asked, found, gathered; the Trainer; its books
accounting | cluster      receipts and audits | the run's objects as Ray actors, hired and heard
schedule   | coordinator  who computes what, when, and again | the cluster's one registry
fleet      | inspect      how the roles are called | looking at runs and environments
runs       | roles        a run's folder | what each role does, as plain classes
config                    everything that defines a run
```

Only `cluster` and `coordinator` import Ray. `docs/architecture.md` has the words and the data flow.
"""
