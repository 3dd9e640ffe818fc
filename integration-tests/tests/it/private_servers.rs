//! The servers that tests may treat badly keep what they promise to keep.

mod on_cluster {
    use ulex_integration_tests::{NatsCluster, NatsServer, Postgres, Redis, eventually, wait_until};

    use std::net::TcpStream;
    use std::time::Duration;

    #[test]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    fn nats_comes_back_on_its_port_after_a_crash_and_after_an_orderly_end() {
        let mut nats = NatsServer::start();
        let url = nats.url();
        nats.kill();
        assert!(TcpStream::connect(nats.address()).is_err());
        nats.restart();
        nats.stop();
        assert!(TcpStream::connect(nats.address()).is_err());
        nats.restart();
        assert_eq!(nats.url(), url);
        assert!(TcpStream::connect(nats.address()).is_ok());
    }

    #[test]
    #[ignore = "needs NATS: ULEX_TEST_NATS_SERVER"]
    fn of_three_nats_another_leads_when_the_leader_is_killed() {
        let mut nats = NatsCluster::start();
        let leader = nats.leader().unwrap();
        nats.node(leader).kill();
        wait_until("another one leads", Duration::from_secs(60), || {
            nats.leader().is_some_and(|new| new != leader)
        });
        nats.node(leader).restart();
        nats.wait_until_ready();
        assert_eq!(nats.urls().len(), 3);
    }

    #[test]
    #[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_BIN"]
    fn postgres_keeps_what_was_committed_when_it_is_killed() {
        let mut postgres = Postgres::start();
        postgres
            .query("create table kept (id int); insert into kept select generate_series(1, 1000)")
            .unwrap();
        postgres.kill();
        assert!(postgres.query("select count(*) from kept").is_err());
        postgres.restart();
        assert_eq!(postgres.query("select count(*) from kept").unwrap(), "1000");
        postgres.stop();
        postgres.restart();
        assert_eq!(postgres.query("select count(*) from kept").unwrap(), "1000");
    }

    #[test]
    #[ignore = "needs PostgreSQL: ULEX_TEST_POSTGRES_BIN"]
    fn a_session_of_postgres_stands_still_with_it() {
        let postgres = Postgres::start();
        postgres.query("create table progress (id int)").unwrap();
        std::thread::scope(|scope| {
            let statement = "do $$ begin for i in 1..200 loop
                insert into progress values (i); commit; perform pg_sleep(0.005); end loop; end $$";
            let session = scope.spawn(|| postgres.query(statement).unwrap());
            let count = || postgres.query("select count(*) from progress").unwrap().parse::<u32>().unwrap();
            wait_until("it is at work", Duration::from_secs(30), || count() > 0);
            postgres.pause();
            // A new session is not answered, and the old one does not get on: it would take a second at most.
            assert!(postgres.query("select 1").is_err());
            assert!(!session.is_finished());
            postgres.resume();
            session.join().unwrap();
            assert_eq!(count(), 200);
        });
    }

    #[test]
    #[ignore = "needs Redis: ULEX_TEST_REDIS_SERVER"]
    fn redis_comes_back_on_its_port_after_it_was_killed_while_it_stood_still() {
        let mut redis = Redis::start();
        let url = redis.url();
        redis.pause();
        redis.kill();
        eventually(&true, || TcpStream::connect(redis.address()).is_err());
        redis.restart();
        redis.stop();
        redis.restart();
        assert_eq!(redis.url(), url);
    }
}
