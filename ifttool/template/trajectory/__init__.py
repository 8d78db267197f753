"""Long conversations whose shape doesn't come back: the loop over messages is traced iteration by iteration.

A whole-conversation plan is for one sequence of messages. Agent data has nearly as many sequences as rows, but few
kinds of messages. So a render is cut at the heads of the template's loops over ``messages`` into *segments*; each is
traced once, compiled with guards on everything it read (its message, its neighbours, counters, namespaces), and the
next render is put together from segments without running the template (DESIGN section 2).
"""
