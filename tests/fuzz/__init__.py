"""Fuzzing: any bytes give a value or the documented exception, at once and in little memory.

targets    what is fuzzed, and what must hold
seeds      small inputs to begin with, made here
mutator    changes them, where there is no atheris
attempts   tries one input, and keeps what breaks a promise
campaign   processes that try for some time
canaries   targets that break each promise, by which the tests know that it is seen
"""
