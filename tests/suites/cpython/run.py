"""Runs a module of CPython's tests, and prints the outcome of each test at once, so that it is known if a later test breaks the program off:

    began NAME
    passed NAME | skipped NAME | failed NAME, with the traceback's lines indented below

The words after the module's name are tests to leave out.
"""

import sys
import traceback
import unittest

from test import support


class Teller(unittest.TestResult):
    def tell(self, word, test, error=None):
        print(word, test.id().replace("\n", " "))
        if error:
            lines = "".join(traceback.format_exception(*error)).splitlines()
            print("".join(f"    {line}\n" for line in lines), end="")
        sys.stdout.flush()

    def startTest(self, test):
        super().startTest(test)
        self.tell("began", test)
        self.failed = False

    def addSuccess(self, test):
        if not self.failed:
            self.tell("passed", test)

    def addExpectedFailure(self, test, error):
        self.tell("passed", test)

    def addSkip(self, test, reason):
        self.tell("skipped", test)

    def addError(self, test, error):
        self.failed = True
        self.tell("failed", test, error)

    addFailure = addError

    def addUnexpectedSuccess(self, test):
        self.tell("failed", test)

    def addSubTest(self, test, subtest, error):
        if error:
            # Under the whole test's name, and once.
            if not self.failed:
                self.tell("failed", test, error)
            self.failed = True


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


# Nothing that takes a network, gibibytes or minutes.
support.use_resources = []
name, left_out = sys.argv[1], set(sys.argv[2:])
try:
    suite = unittest.defaultTestLoader.loadTestsFromName(name)
except unittest.SkipTest as reason:
    print(f"skipped {name}.(all of it: {reason})")
    suite = []
unittest.TestSuite(test for test in flat(suite) if test.id() not in left_out).run(Teller())
print("all done")
