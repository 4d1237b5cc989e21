-- The first schema, in PostgreSQL's words. What SQLite calls two of its types is in 0001_first_schema.py.

CREATE TABLE campaigns (
    id SERIAL NOT NULL,
    name VARCHAR(200) NOT NULL,
    state VARCHAR(20) NOT NULL,
    settings TEXT NOT NULL,
    seed VARCHAR(80) NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_campaigns PRIMARY KEY (id),
    CONSTRAINT uq_campaigns_name UNIQUE (name)
);

CREATE TABLE judge_calls (
    "key" VARCHAR(64) NOT NULL,
    comparison_id VARCHAR(64) NOT NULL,
    judge VARCHAR(200) NOT NULL,
    model VARCHAR(200) NOT NULL,
    prompt_digest VARCHAR(64) NOT NULL,
    rubric_version VARCHAR(64) NOT NULL,
    permutation TEXT NOT NULL,
    status VARCHAR(20) NOT NULL,
    reply TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    reply_tokens INTEGER NOT NULL,
    seconds FLOAT NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_judge_calls PRIMARY KEY ("key")
);

CREATE INDEX ix_judge_calls_judge ON judge_calls (judge);

CREATE TABLE login_failures (
    id SERIAL NOT NULL,
    subject VARCHAR(300) NOT NULL,
    failed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_login_failures PRIMARY KEY (id)
);

CREATE INDEX ix_login_failures_subject_failed_at ON login_failures (subject, failed_at);

CREATE TABLE raters (
    id SERIAL NOT NULL,
    name VARCHAR(200) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    demotion TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_raters PRIMARY KEY (id),
    CONSTRAINT uq_raters_name UNIQUE (name)
);

CREATE TABLE accounts (
    rater_id INTEGER NOT NULL,
    password_hash VARCHAR(200) NOT NULL,
    role VARCHAR(20) NOT NULL,
    is_active BOOLEAN NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_accounts PRIMARY KEY (rater_id),
    CONSTRAINT fk_accounts_rater_id FOREIGN KEY(rater_id) REFERENCES raters (id)
);

CREATE TABLE events (
    id SERIAL NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    actor VARCHAR(200) NOT NULL,
    action VARCHAR(60) NOT NULL,
    campaign_id INTEGER,
    subject TEXT NOT NULL,
    "before" TEXT,
    "after" TEXT,
    CONSTRAINT pk_events PRIMARY KEY (id),
    CONSTRAINT fk_events_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaigns (id)
);

CREATE INDEX ix_events_campaign_id ON events (campaign_id);

CREATE TABLE exports (
    id SERIAL NOT NULL,
    campaign_id INTEGER NOT NULL,
    artifact_id VARCHAR(64) NOT NULL,
    path TEXT NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_exports PRIMARY KEY (id),
    CONSTRAINT fk_exports_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaigns (id)
);

CREATE INDEX ix_exports_campaign_id ON exports (campaign_id);

CREATE TABLE invites (
    token_digest VARCHAR(64) NOT NULL,
    role VARCHAR(20) NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_by INTEGER,
    CONSTRAINT pk_invites PRIMARY KEY (token_digest),
    CONSTRAINT fk_invites_used_by FOREIGN KEY(used_by) REFERENCES raters (id)
);

CREATE TABLE items (
    id SERIAL NOT NULL,
    campaign_id INTEGER NOT NULL,
    comparison_id VARCHAR(64) NOT NULL,
    prompt TEXT NOT NULL,
    slices TEXT NOT NULL,
    completions TEXT NOT NULL,
    sources TEXT NOT NULL,
    gold_ranks TEXT NOT NULL,
    is_gold BOOLEAN NOT NULL,
    hold VARCHAR(200) NOT NULL,
    overlap INTEGER NOT NULL,
    priority FLOAT NOT NULL,
    arm VARCHAR(20),
    propensity FLOAT,
    begun_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_items PRIMARY KEY (id),
    CONSTRAINT fk_items_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaigns (id),
    CONSTRAINT uq_items_campaign_id_comparison_id UNIQUE (campaign_id, comparison_id)
);

CREATE INDEX ix_items_campaign_id_is_gold_begun_at ON items (campaign_id, is_gold, begun_at);

CREATE TABLE rubrics (
    id SERIAL NOT NULL,
    campaign_id INTEGER NOT NULL,
    version VARCHAR(64) NOT NULL,
    text TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_rubrics PRIMARY KEY (id),
    CONSTRAINT fk_rubrics_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaigns (id)
);

CREATE INDEX ix_rubrics_campaign_id ON rubrics (campaign_id);

CREATE TABLE sessions (
    token_digest VARCHAR(64) NOT NULL,
    rater_id INTEGER NOT NULL,
    csrf_token VARCHAR(64) NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_sessions PRIMARY KEY (token_digest),
    CONSTRAINT fk_sessions_rater_id FOREIGN KEY(rater_id) REFERENCES raters (id)
);

CREATE INDEX ix_sessions_rater_id ON sessions (rater_id);

CREATE TABLE assignments (
    id VARCHAR(40) NOT NULL,
    campaign_id INTEGER NOT NULL,
    item_id INTEGER NOT NULL,
    rater_id INTEGER NOT NULL,
    purpose VARCHAR(20) NOT NULL,
    permutation TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    is_answered BOOLEAN NOT NULL,
    CONSTRAINT pk_assignments PRIMARY KEY (id),
    CONSTRAINT fk_assignments_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaigns (id),
    CONSTRAINT fk_assignments_item_id FOREIGN KEY(item_id) REFERENCES items (id),
    CONSTRAINT fk_assignments_rater_id FOREIGN KEY(rater_id) REFERENCES raters (id),
    CONSTRAINT uq_assignments_item_id_rater_id_purpose UNIQUE (item_id, rater_id, purpose)
);

CREATE INDEX ix_assignments_rater_id_campaign_id_is_answered ON assignments (rater_id, campaign_id, is_answered);

CREATE TABLE judgements (
    id SERIAL NOT NULL,
    campaign_id INTEGER NOT NULL,
    item_id INTEGER NOT NULL,
    rater_id INTEGER NOT NULL,
    assignment_id VARCHAR(40) NOT NULL,
    client_key VARCHAR(80) NOT NULL,
    supersedes INTEGER,
    permutation TEXT NOT NULL,
    outcome VARCHAR(20) NOT NULL,
    ranks TEXT NOT NULL,
    strength VARCHAR(20),
    aspects TEXT NOT NULL,
    flags TEXT NOT NULL,
    rationale TEXT NOT NULL,
    skip_reason TEXT NOT NULL,
    rubric_version VARCHAR(64) NOT NULL,
    seconds FLOAT,
    is_surplus BOOLEAN NOT NULL,
    given_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_judgements PRIMARY KEY (id),
    CONSTRAINT fk_judgements_assignment_id FOREIGN KEY(assignment_id) REFERENCES assignments (id),
    CONSTRAINT fk_judgements_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaigns (id),
    CONSTRAINT fk_judgements_item_id FOREIGN KEY(item_id) REFERENCES items (id),
    CONSTRAINT fk_judgements_rater_id FOREIGN KEY(rater_id) REFERENCES raters (id),
    CONSTRAINT fk_judgements_supersedes FOREIGN KEY(supersedes) REFERENCES judgements (id),
    CONSTRAINT uq_judgements_assignment_id_client_key UNIQUE (assignment_id, client_key),
    CONSTRAINT uq_judgements_supersedes UNIQUE (supersedes)
);

CREATE INDEX ix_judgements_campaign_id ON judgements (campaign_id);

CREATE INDEX ix_judgements_item_id ON judgements (item_id);

CREATE INDEX ix_judgements_rater_id ON judgements (rater_id);

CREATE TABLE slots (
    item_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    campaign_id INTEGER NOT NULL,
    reserved_for VARCHAR(20) NOT NULL,
    assignment_id VARCHAR(40),
    expires_at TIMESTAMP WITH TIME ZONE,
    is_done BOOLEAN NOT NULL,
    CONSTRAINT pk_slots PRIMARY KEY (item_id, number),
    CONSTRAINT fk_slots_assignment_id FOREIGN KEY(assignment_id) REFERENCES assignments (id),
    CONSTRAINT fk_slots_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaigns (id),
    CONSTRAINT fk_slots_item_id FOREIGN KEY(item_id) REFERENCES items (id),
    CONSTRAINT uq_slots_assignment_id UNIQUE (assignment_id)
);

CREATE INDEX ix_slots_campaign_id_is_done ON slots (campaign_id, is_done);

CREATE TABLE exported_judgements (
    export_id INTEGER NOT NULL,
    judgement_id INTEGER NOT NULL,
    CONSTRAINT pk_exported_judgements PRIMARY KEY (export_id, judgement_id),
    CONSTRAINT fk_exported_judgements_export_id FOREIGN KEY(export_id) REFERENCES exports (id),
    CONSTRAINT fk_exported_judgements_judgement_id FOREIGN KEY(judgement_id) REFERENCES judgements (id)
);

CREATE INDEX ix_exported_judgements_judgement_id ON exported_judgements (judgement_id);
