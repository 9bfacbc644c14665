# SPDX-License-Identifier: Apache-2.0
"""Running containers: what each has of what it was given, and its device rules given back.

`drift.of_running` compares all that run and have a record, within some seconds; `drift.of` one of
them.  A `drift.Now` has the things one by one, and ``lost_rules()`` those that `repair.repair` can
give back.  Nothing is written and nothing runs in a container for it, what may not be read is
``unknown`` with a reason, and no call raises for a container's state.  `repair.repair` changes
device rules of control groups, and nothing else.  Ring: elsewhere.
"""
