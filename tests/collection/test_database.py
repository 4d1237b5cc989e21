"""Opening, backing up and restoring a label database, and what its columns give back."""


def test_a_database_opens(database):
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
