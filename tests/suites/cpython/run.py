"""Runs a module of CPython's tests and says of each test what became of it, at once, so that a program which breaks off has told:

    began NAME
    passed NAME | skipped NAME | failed NAME, with the traceback's lines indented below

Words after the module's name are tests to leave out.
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
            # Told under the whole test's name, once.
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
tests = [test for test in flat(unittest.defaultTestLoader.loadTestsFromName(name)) if test.id() not in left_out]
unittest.TestSuite(tests).run(Teller())
print("all done")
