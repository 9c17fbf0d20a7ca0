//! Kernels that speak TLS, and what they and their planes are asked to prove.

use std::os::unix::fs::PermissionsExt as _;

use super::elsewhere::Plane;
use super::*;
use crate::support::Certificates;

#[test]
fn an_encrypted_kernel_is_asked_by_whoever_trusts_its_authority_and_by_no_other() {
    let made = Certificates::make();
    let (cert, key) = (made.argument("server.pem"), made.argument("server.key"));
    let kernel = Kernel::start(FIVE, &["--tls-cert", &cert, "--tls-key", &key]);
    assert!(kernel.url.starts_with("https://"), "{}", kernel.url);
    let read = || [check(json!({"jobId": "j", "topic": "job.yes.read"}))];
    let trusted = kernel.asked(&["--ca", &made.argument("ca.pem")], &read());
    assert_eq!(trusted[0]["response"]["ruleId"], "yes", "{trusted:?}");
    let stranger = kernel.asked(&["--ca", &made.argument("stranger.pem")], &read());
    assert_eq!(stranger[0]["code"], "UNAVAILABLE", "{stranger:?}");
    let plain = kernel.asked(&[], &read());
    assert_eq!(plain[0]["code"], "UNAVAILABLE", "{plain:?}");
    assert_eq!(kernel.end().code, 0);
}

#[test]
fn a_plane_trusts_a_kernel_by_its_authority_alone() {
    let made = Certificates::make();
    let (cert, key) = (made.argument("server.pem"), made.argument("server.key"));
    let kernel = Kernel::start(FIVE, &["--tls-cert", &cert, "--tls-key", &key]);
    let plane = Plane::asking(&kernel.url, &["--kernel-ca", &made.argument("ca.pem")]);
    let (_, yes) = plane.submit("job.yes.read");
    plane.went_on(&id_of(&yes));
    let stranger = made.argument("stranger.pem");
    let plane = Plane::asking(&kernel.url, &["--kernel-ca", &stranger]);
    assert!(
        plane.ready().contains("policy unknown"),
        "{}",
        plane.ready()
    );
    let (_, early) = plane.submit("job.yes.read");
    let reason = early["reason"].as_str().unwrap();
    assert!(reason.contains("invalid peer certificate"), "{reason}");
}

/// A kernel that answers only whom the authority of `made` signed for.
fn choosy(made: &Certificates) -> Kernel {
    let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| made.argument(name));
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    Kernel::start(FIVE, &[&tls[..], &["--tls-client-ca", &ca]].concat())
}

#[test]
fn a_kernel_with_an_authority_for_clients_answers_nobody_else() {
    let made = Certificates::make();
    let kernel = choosy(&made);
    let ca = made.argument("ca.pem");
    let told = |name: &str, call: Value| {
        let files = [format!("{name}.pem"), format!("{name}.key")];
        let [cert, key] = files.map(|file| made.argument(&file));
        let mut proof = vec!["--ca", ca.as_str()];
        if name != "nobody" {
            proof.extend(["--cert", &cert, "--key", &key]);
        }
        kernel.asked(&proof, &[call]).remove(0)
    };
    let read = || check(json!({"jobId": "j", "topic": "job.yes.read"}));
    let health = || json!({"call": "Health", "service": ""});
    let client = told("client", read());
    assert_eq!(client["response"]["ruleId"], "yes", "{client}");
    let client = told("client", health());
    assert_eq!(client["response"]["status"], "SERVING", "{client}");
    for stranger in ["nobody", "outsider"] {
        for call in [read(), health(), json!({"call": "ListSnapshots"})] {
            let refused = told(stranger, call);
            assert_eq!(refused["code"], "UNAVAILABLE", "{stranger}: {refused}");
        }
    }
    assert_eq!(kernel.end().code, 0);
}

#[test]
fn a_plane_shows_its_certificate_to_a_kernel_that_asks_for_one() {
    let made = Certificates::make();
    let kernel = choosy(&made);
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| made.argument(name));
    let by_flag = ["--kernel-cert", &cert, "--kernel-key", &key];
    let by_environment = [
        ("SAFETY_KERNEL_TLS_CERT", cert.as_str()),
        ("SAFETY_KERNEL_TLS_KEY", key.as_str()),
    ];
    for (more, environment) in [(&by_flag[..], &[][..]), (&[], &by_environment)] {
        let trusting = [&["--kernel-ca", ca.as_str()], more].concat();
        let plane = Plane::told(&kernel.url, &trusting, environment);
        let (_, yes) = plane.submit("job.yes.read");
        plane.went_on(&id_of(&yes));
    }
    let plane = Plane::asking(&kernel.url, &["--kernel-ca", &ca]);
    let (_, early) = plane.submit("job.yes.read");
    let reason = early["reason"].as_str().unwrap();
    // The alert that says what is missing may be lost with the line.
    let begins = format!("the safety kernel does not answer: {}: ", kernel.url);
    assert!(reason.starts_with(&begins), "{reason}");
    plane.waits_for_the_kernel(&id_of(&early));
}

#[test]
fn an_authority_for_clients_that_cannot_be_used_keeps_a_kernel_from_serving() {
    let made = Certificates::make();
    let capdeck = Capdeck::new();
    let policy = capdeck.home().join("policy.yaml");
    std::fs::write(&policy, FIVE).unwrap();
    let policy = policy.to_str().unwrap();
    let [cert, key] = ["server.pem", "server.key"].map(|name| made.argument(name));
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    for (more, says) in [
        (
            [&tls[..], &["--tls-client-ca", "/nowhere/ca.pem"]].concat(),
            "error: cannot read `/nowhere/ca.pem`: ".to_owned(),
        ),
        (
            [&tls[..], &["--tls-client-ca", &key]].concat(),
            format!("error: `{key}` holds no PEM certificates\n"),
        ),
        (
            vec!["--tls-client-ca", &cert],
            "error: the following required arguments were not provided:\n  --tls-key <FILE>"
                .to_owned(),
        ),
    ] {
        let ran = capdeck.run(&[&["kernel", "--policy", policy], &more[..]].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{more:?}");
        assert!(ran.stderr.starts_with(&says), "{}", ran.stderr);
    }
}

#[test]
fn by_leave_a_kernel_answers_where_others_reach_it_without_tls_and_its_planes_are_warned() {
    let kernel = Kernel::start_at("0.0.0.0:0", FIVE, &["--allow-plaintext"]);
    assert!(kernel.url.starts_with("http://0.0.0.0:"), "{}", kernel.url);
    let answer = kernel.ask(check(json!({"jobId": "j", "topic": "job.yes.read"})));
    assert_eq!(answer["ruleId"], "yes", "{answer}");
    let plane = Plane::asking(&kernel.url, &[]);
    let (_, yes) = plane.submit("job.yes.read");
    plane.went_on(&id_of(&yes));
    let said = plane.end();
    let says = format!("{} is not encrypted: whoever is on the way can", kernel.url);
    assert!(said.contains(&says), "{said}");
}

#[test]
fn the_file_that_keeps_a_kernel_from_speaking_tls_is_named_with_the_reason() {
    let made = Certificates::make();
    let capdeck = Capdeck::new();
    let file = |name: &str, text: &str| {
        let path = capdeck.home().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let policy = file("policy.yaml", FIVE);
    let nothing = file("nothing.pem", "nothing");
    let pem = std::fs::read_to_string(made.path("server.pem")).unwrap();
    let cut = file("cut.pem", &format!("{pem}{}", &pem[..pem.len() / 2]));
    let odd = file(
        "odd.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let [cert, key, other] =
        ["server.pem", "server.key", "client.key"].map(|name| made.argument(name));
    let open = file("open.key", &std::fs::read_to_string(&key).unwrap());
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o640)).unwrap();
    for (cert, key, says) in [
        (
            "/nowhere.pem",
            &key,
            "cannot read `/nowhere.pem`: No such file".to_owned(),
        ),
        (
            &nothing,
            &key,
            format!("`{nothing}` holds no PEM certificates"),
        ),
        (
            &cut,
            &key,
            format!("certificate 2 in `{cut}` cannot be used: its PEM is broken"),
        ),
        (
            &odd,
            &key,
            format!(
                "certificate 1 in `{odd}` cannot be used: it is no X.509 certificate that TLS \
                 can use"
            ),
        ),
        (
            &cert,
            &nothing,
            format!("`{nothing}` holds no private key in PEM that TLS can use"),
        ),
        (
            &cert,
            &other,
            format!("`{other}` is not the key of the certificate in `{cert}`"),
        ),
        (
            &cert,
            &open,
            format!(
                "`{open}` holds a private key and others can use it: mode 640, needed is 600\n\
                 hint: chmod 600 {open}\n"
            ),
        ),
        (
            &cert,
            &"/nowhere.key".to_owned(),
            "cannot read a private key in `/nowhere.key`: No such file".to_owned(),
        ),
    ] {
        let says = format!("error: {says}");
        let refused = |ran: Ran| {
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{cert} {key}");
            assert!(ran.stderr.starts_with(&says), "{}", ran.stderr);
        };
        let arguments = ["kernel", "--policy", &policy, "--listen", "127.0.0.1:0"];
        let tls = ["--tls-cert", cert, "--tls-key", key];
        refused(capdeck.run(&[&arguments[..], &tls].concat()));
        let asking = capdeck
            .command(&["up", "--http", "127.0.0.1:0"])
            .args(["--kernel", "https://127.0.0.1:1"])
            .env("SAFETY_KERNEL_TLS_CERT", cert)
            .env("SAFETY_KERNEL_TLS_KEY", key)
            .output();
        refused(Ran::of(asking.unwrap()));
    }
}
