# SPDX-License-Identifier: Apache-2.0
"""The commands of nvidia-ctk as data, from which parsing, help, manual and completion are made.

A file for each group of commands; nothing here imports what a command needs.  Ring: elsewhere.
"""
