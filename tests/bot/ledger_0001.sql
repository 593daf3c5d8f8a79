BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE record (
	fingerprint VARCHAR(64) NOT NULL, 
	lora VARCHAR(64) NOT NULL, 
	stage VARCHAR(16) NOT NULL, 
	parts TEXT NOT NULL, 
	result TEXT NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	run_id VARCHAR(64) NOT NULL, 
	git_commit VARCHAR(64) NOT NULL, 
	finished_at VARCHAR(40) NOT NULL, 
	PRIMARY KEY (fingerprint)
);
INSERT INTO "record" VALUES('f196868db200700e14a802a45e4d6659b72f70d3f5d667dbb0244f4706e848a9','mei','validate','{"dataset":"x","lora":"mei"}','{"outcome":"passed","metrics":{},"artifacts":[],"findings":[],"timings_s":{},"details":{}}','passed','run-1','c','2026-11-25T22:58:18.910238+00:00');
INSERT INTO "record" VALUES('4539f848c3d3c20b5a912a1af73bc1c26e089b965c01f31b184033ea3559b6b2','mei','train','{"dataset":"x","lora":"mei"}','{"outcome":"passed","metrics":{},"artifacts":[],"findings":[],"timings_s":{},"details":{}}','passed','run-2','c','2026-11-25T22:58:18.915508+00:00');
CREATE TABLE run (
	id VARCHAR(64) NOT NULL, 
	event TEXT NOT NULL, 
	started_at VARCHAR(40) NOT NULL, 
	outcome VARCHAR(16), 
	"view" TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "run" VALUES('run-1','{"kind":"push","repo":"r","head":"h","base":null,"range_why":"","ref":null,"actor":null,"trust":"trusted","number":null,"tag":null,"message":"","approved_by":null,"passed_checks":[]}','2026-11-25T22:58:18.900388+00:00',NULL,NULL);
INSERT INTO "run" VALUES('run-2','{"kind":"push","repo":"r","head":"h","base":null,"range_why":"","ref":null,"actor":null,"trust":"trusted","number":null,"tag":null,"message":"","approved_by":null,"passed_checks":[]}','2026-11-25T22:58:18.911635+00:00',NULL,NULL);
CREATE TABLE step (
	id INTEGER NOT NULL, 
	run_id VARCHAR(64) NOT NULL, 
	lora VARCHAR(64) NOT NULL, 
	stage VARCHAR(16) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	parts TEXT NOT NULL, 
	git_commit VARCHAR(64) NOT NULL, 
	spec TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	handle VARCHAR(128), 
	result TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(run_id) REFERENCES run (id)
);
INSERT INTO "step" VALUES(1,'run-1','mei','validate','f196868db200700e14a802a45e4d6659b72f70d3f5d667dbb0244f4706e848a9','{"dataset":"x","lora":"mei"}','c','{"stage":"validate","lora":"mei","fingerprint":"f196868db200700e14a802a45e4d6659b72f70d3f5d667dbb0244f4706e848a9","inputs":{},"params":{},"resources":{"gpus":0,"vram_gib":0.0,"timeout_s":21600.0}}','ended',1,'handle','{"outcome":"passed","metrics":{},"artifacts":[],"findings":[],"timings_s":{},"details":{}}');
INSERT INTO "step" VALUES(2,'run-2','mei','train','4539f848c3d3c20b5a912a1af73bc1c26e089b965c01f31b184033ea3559b6b2','{"dataset":"x","lora":"mei"}','c','{"stage":"train","lora":"mei","fingerprint":"4539f848c3d3c20b5a912a1af73bc1c26e089b965c01f31b184033ea3559b6b2","inputs":{},"params":{},"resources":{"gpus":0,"vram_gib":0.0,"timeout_s":21600.0}}','ended',1,'handle','{"outcome":"passed","metrics":{},"artifacts":[],"findings":[],"timings_s":{},"details":{}}');
CREATE INDEX run_started ON run (started_at);
CREATE UNIQUE INDEX step_key ON step (run_id, lora, stage);
CREATE INDEX step_state ON step (state);
CREATE INDEX record_latest ON record (lora, stage, outcome, finished_at);
COMMIT;
