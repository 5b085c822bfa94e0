"""Small changes to the code, one at a time: which of them do the tests not notice?"""
