"""The drivers for a cluster: each command goes to the primary that owns its key's slot.

``slots``
    Which slot a command's key lies in.
``topology``
    Which primary owns which slot, as the cluster tells.
``state``
    What this process knows of the cluster: topology, nodes that do not serve.
``routing``
    What is sent where and sent again; no input or output.
``sync``, ``aio``
    Move the bytes, over a driver of the parent package for each node.
"""
